"""The one place where the measuring side is joined: checkpoint, architecture and data in, a spectrum out."""
