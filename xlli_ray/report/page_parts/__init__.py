"""What the page makes of any probe's or analysis's declarations: columns, arrays, tables, figures, and the section that one brings."""
