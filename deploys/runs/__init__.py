"""One run of pyinfra as a whole: what was asked of it, whose trouble ends what, its last words."""
