"""Where the control plane remembers: tables, migrations, and how transactions begin and end."""
