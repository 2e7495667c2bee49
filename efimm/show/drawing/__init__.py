"""What every picture is drawn with: shapes, SVG and its style sheet, pages to turn."""
