"""What pyinfra lacks: operations that are checked, atomic and finished by the next run."""
