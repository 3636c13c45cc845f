"""The store: tables, and the functions that read and change them. Decides nothing, and knows no platform."""
