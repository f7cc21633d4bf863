"""What keeps a web side served while it changes: one process after the other on one socket.

systemd holds the socket and starts `portside.serving`, which starts a web server on it (a
"generation"). A reload starts the next one from the release that is current by then; once it can
serve, the one before is told to finish what it has. Each generation has its own interpreter and its
own gunicorn, so that none of them has to stay for the other. A restart of the unit leaves the
generations running: what is started next takes over from them in the same way.

Standard library only, for it runs outside any release: whichever one is installed, or none.
"""
