"""Published weights: read without executing them, renamed to our trees, with what belongs to them.

`names` turns an original's state dict into ours by the rules of a family's file (`families`);
`zoo` lists the architectures; `reading` opens the files; `convert` is the command.
"""
