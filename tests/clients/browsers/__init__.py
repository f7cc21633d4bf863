"""Upload libraries of web pages, and downloads, in Debian's Chromium and Firefox ESR."""
