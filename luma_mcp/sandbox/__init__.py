"""A RunAPI in this process, for newcomers without a key and for tests; held to the contract by its own."""
