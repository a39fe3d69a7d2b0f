"""What is told of an analysis: words, tables, JSON, CSV, JUnit, and a picture that is itself harmless."""
