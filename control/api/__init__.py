"""HTTP resources: each turns a request into a call and its result into an answer, no more."""
