"""What the machine offers: system calls, disks, memory, threads, TLS and HTTP to others."""
