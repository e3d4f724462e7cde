"""From nodes to text, from text to vectors."""
