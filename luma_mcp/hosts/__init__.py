"""The hosts that can start this server: where each keeps its servers, in which form, and what it allows a call."""
