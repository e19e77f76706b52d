"""Methods that live outside darkjax, one of each kind: what docs/extending.md points at."""
