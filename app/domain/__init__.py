"""What the product decides, without Flask, database or clock."""
