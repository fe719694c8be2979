"""Raw text into token shards: cleaned, without duplicates, held-out documents set apart; always resumable."""
