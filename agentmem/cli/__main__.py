"""``python -m agentmem.cli``: the command, where the scripts folder is not on the path."""

from agentmem.cli import main

if __name__ == "__main__":
    main(prog_name="agentmem")
