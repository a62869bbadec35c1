"""The only door between our dataclasses and Flower records: everything that crosses is checked here."""
