"""The web server and its page: pictures in, verdicts out, nothing kept."""
