"""The words that everybody uses: records, errors, settings, and tools without a subject."""
