"""Coming with files and leaving with them."""
