//! `mcp_meta_resume_instance`.

use factum_sessions::{ResumeAnswer, ResumeInstance};

use crate::answer::{Answer, say};
use crate::arguments::Arguments;
use crate::fault::Fault;
use crate::schema;
use crate::tool::{Call, Effect, Tool};

pub(crate) static RESUME: Tool = Tool {
    name: "mcp_meta_resume_instance",
    title: "Take over from an instance",
    about: "Tells everything that a successor needs to go on with the work of an instance \
            that is gone: summary, next steps, and a hand-off document; and records that it \
            was taken over. Without a hint it is the newest. Where several instances fit, \
            the answer numbers them: call again with user_choice.",
    effect: Effect::Adds,
    input: schema::input::<ResumeInstance>,
    output: schema::output::<ResumeAnswer>,
    run: |call, arguments| Box::pin(resume(call, arguments)),
};

async fn resume(call: Call, arguments: Arguments) -> Result<Answer, Fault> {
    let answer = call.sessions()?.resume_instance(arguments.read()?).await?;
    let text = match &answer {
        ResumeAnswer::Resumed(resumed) => {
            let (summary, score) = (&resumed.summary, resumed.confidence_score);
            let mut text = format!(
                "{summary} Confidence {score}: {}.",
                resumed.confidence_reason
            );
            for (number, step) in (1..).zip(&resumed.next_steps) {
                say(&mut text, format_args!("\n{number}. {step}"));
            }
            text
        }
        ResumeAnswer::Choose { question, matches } => {
            let mut text = format!("{question}:");
            for found in matches {
                let (choice, id, status) = (found.choice, &found.instance_id, &found.status);
                say(&mut text, format_args!("\n{choice}. {id} ({status})"));
            }
            text
        }
    };
    // Every part of a hand-off has a bound of its own, and none may be missing.
    Answer::of(&answer, text)
}
