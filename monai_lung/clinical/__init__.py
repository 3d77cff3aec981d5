"""What a radiologist measures and concludes: sizes, growth, guideline advice. Knows no torch and no files."""
