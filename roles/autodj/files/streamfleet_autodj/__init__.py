"""What an AutoDJ plays next, and the way in for DJs. Runs on the node as the station's tenant; standard library only.

``chooser`` decides and is pure; ``library`` looks at files; ``index`` measures them; ``__main__`` keeps the state.
``live`` takes DJs in: ``wire`` reads what they say, ``roster`` knows them, ``air`` decides who is heard.
"""
