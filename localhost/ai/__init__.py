"""An OpenAI-compatible server on open, offline engines: a demonstration, not a product.

It exists so that everything runs on one machine with no account and no network. Speech is
pocketsphinx with its US English model: lower case, no punctuation, and about one word in seven wrong
on a clear synthetic voice, one in three on a human reader. Summaries and titles are the text's own
most telling passages and phrases, picked by word frequency and yake; nothing is understood.
"""
