"""What the shaper costs on a message's whole way through Postfix."""
