"""How clients put a resumable upload: tus 1.0 and the IETF's draft, read into one request. Pure."""
