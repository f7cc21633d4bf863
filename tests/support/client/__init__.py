"""What the upload client talks to in its tests: nodes and control planes that misbehave."""
