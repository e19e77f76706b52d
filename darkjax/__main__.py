"""`python -m darkjax`: what is here; `python -m darkjax VERB`, as `darkjax VERB`: one of it."""

import sys

from darkjax import program, verbs

if __name__ == "__main__":
    words = sys.argv[1:]
    listing = not words or words[0] in ("-h", "--help")
    program.run((lambda: program.overview("darkjax")) if listing else verbs.main)
