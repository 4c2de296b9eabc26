"""python -m tinynet COMMAND."""

from tinynet import commands, console

if __name__ == "__main__":
    console.run(commands.main, interrupted="Interrupted.")
