"""Video files in and out: what may be read, uploads, downloads, names, previews."""
