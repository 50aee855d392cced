"""Parts of the page for any probe or analysis: columns, arrays, tables, figures, and custom sections."""
