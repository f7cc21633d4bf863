"""What a request is and says, before anything is decided: its head, its body, a form's file."""
