"""What operators are alerted of: said once, told by Prometheus or by the control plane itself."""
