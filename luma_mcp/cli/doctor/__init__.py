"""The doctor: looks at everything that this server depends on, changes nothing, and says how to fix what is wrong."""
