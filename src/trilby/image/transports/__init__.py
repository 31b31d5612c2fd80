"""Where images come from and go to: one file per transport."""
