"""What goes on while nobody calls: submit once, poll, save, under leases."""
