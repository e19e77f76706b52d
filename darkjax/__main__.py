"""`python -m darkjax`: what is here."""

from darkjax import program

if __name__ == "__main__":
    program.run(lambda: program.overview("darkjax"))
