"""How often alarm rules are wrong, and how soon they see a fault."""
