"""What people read: JSON forms, tables and wording."""
