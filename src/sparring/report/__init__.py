"""From records to something to look at: tables and pictures. Knows plain data alone and never imports torch."""
