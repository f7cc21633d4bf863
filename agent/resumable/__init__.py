"""Uploads that go on after a cut: tus 1.0 and the IETF draft on the same resources."""
