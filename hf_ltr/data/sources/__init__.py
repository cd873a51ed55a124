"""Where images and labels come from: folders, tables, lists, prepared data, the embedded digits."""
