"""What an operator does after the first deploy: a module for each verb of `fab --list`."""
