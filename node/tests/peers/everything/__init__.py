"""An MCP server that shows every feature of both protocol eras.

The names of its tools, prompts and resources are those that the public
conformance suite asks for, so that the suite scores it in full; what the
gateway's own tests need beside them is at the end of `tools.py`.
"""
