"""What a table of problems says of its columns that the schema alone cannot."""

from distill_operator.api.rules import Rule

PROBLEM_RULES = (
    Rule(
        "!has(self.problemTemplate) || !has(self.messagesColumn)",
        "problemTemplate and messagesColumn both say what the problem is: set one of them",
        field="messagesColumn",
    ),
    Rule(
        "!has(self.problemTemplate) || !self.problemTemplate.contains('{choices}') || has(self.choiceColumns)",
        "problemTemplate has {choices}: set choiceColumns, which says what they are",
        field="problemTemplate",
    ),
    Rule(
        "!has(self.choiceOrder) || self.choiceOrder == 'given' || has(self.choiceColumns)",
        "choiceOrder shuffles choiceColumns: set them, or leave it out",
        field="choiceOrder",
    ),
)
