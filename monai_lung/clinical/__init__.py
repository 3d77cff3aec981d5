"""A radiologist's measurements and conclusions: sizes, growth, guideline advice. Knows no torch and no files."""
