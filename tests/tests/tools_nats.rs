//! NATS services as tools, and operations of an OpenAPI document.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "helpers of tests: a panic is how a test fails")]

use async_nats::service::ServiceExt;
use async_nats::service::error::Error;
use futures::StreamExt;
use serde_json::json;
use tests::service::Service;
use tests::tooling::Clerk;

fn order() -> serde_json::Value {
    json!({ "type": "object", "properties": { "order": { "type": "integer" } }, "required": ["order"] })
}

#[tokio::test]
async fn a_service_of_the_broker_is_a_tool() {
    let tool = json!({ "subject": "orders.status", "description": "Tells where an order is.", "parameters": order() });
    let mut clerk = Clerk::with(json!({ "nats": { "tools": { "order_status": tool } } })).await;
    let (_, told) = clerk.calls("order_status", &json!({ "order": 7 })).await;
    assert!(told.contains("nobody answers at orders.status. Nothing was called."), "{told}");

    let client = async_nats::connect(clerk.server.url()).await.unwrap();
    let service = client.service_builder().start("orders", "1.0.0").await.unwrap();
    let mut endpoint = service.endpoint("orders.status").await.unwrap();
    client.flush().await.unwrap();
    let serving = tokio::spawn(async move {
        let mut headers = Vec::new();
        while let Some(request) = endpoint.next().await {
            let order: serde_json::Value = serde_json::from_slice(&request.message.payload).unwrap();
            let known = order["order"] == 7;
            headers.push(request.message.headers.clone().unwrap());
            let answer =
                if known { Ok("It arrives tomorrow.".into()) } else { Err(Error { status: "no such order".to_owned(), code: 404 }) };
            request.respond(answer).await.unwrap();
            if !known {
                return headers;
            }
        }
        headers
    });
    assert_eq!(clerk.calls("order_status", &json!({ "order": 7 })).await.1, "It arrives tomorrow.");
    let (_, told) = clerk.calls("order_status", &json!({ "order": 8 })).await;
    assert!(told.contains("The service answers with an error: 404 no such order"), "{told}");
    let headers = serving.await.unwrap();
    assert_ne!(headers[0].get("Idempotency-Key").unwrap(), headers[1].get("Idempotency-Key").unwrap());
    assert!(headers.iter().all(|headers| headers.get("Baton-Epoch").is_some() && headers.get("Baton-Conversation").is_some()));
}

#[tokio::test]
async fn an_operation_of_a_document_is_a_tool() {
    let mut shop = Service::start().await;
    let document = json!({ "openapi": "3.1.0", "servers": [{ "url": shop.url() }], "paths": { "/orders/{id}/refund": { "post": {
        "operationId": "refund",
        "summary": "Pays an order back.",
        "parameters": [
            { "name": "id", "in": "path", "required": true, "schema": { "type": "integer" } },
            { "name": "X-Reason", "in": "header", "schema": { "type": "string" } },
        ],
        "requestBody": { "required": true, "content": { "application/json": { "schema": {
            "type": "object", "properties": { "cents": { "type": "integer" } }, "required": ["cents"],
        } } } },
    } } } });
    let mut clerk = Clerk::with(json!({ "openapi": { "document": document } })).await;
    let serving = tokio::spawn(async move {
        let request = shop.next().await;
        let seen = (request.path.clone(), request.body.clone(), request.header("x-reason").to_owned());
        request.answer(&json!({ "paid": true }));
        seen
    });
    let (offered, told) = clerk.calls("refund", &json!({ "id": 7, "X-Reason": "late", "cents": 500 })).await;
    assert_eq!(offered[0]["function"]["parameters"]["required"], json!(["id", "cents"]), "{offered}");
    assert_eq!(told, r#"{"paid":true}"#);
    assert_eq!(serving.await.unwrap(), ("/orders/7/refund".to_owned(), json!({ "cents": 500 }), "late".to_owned()));
}
