"""What is known of nodes, pools and apps, and which node a file goes to."""
