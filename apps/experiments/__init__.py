"""What single experiments need: a folder each, used by the script of its name or question in `apps/`."""
